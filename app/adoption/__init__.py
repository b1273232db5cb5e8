"""Taking over what another application has stored: its tenants, and their secrets.

* :mod:`mapping`: the file that says which columns become what
* :mod:`kinds`: what they become: the same schemas and services that the API has
* :mod:`sources`: where the values are, and what that has in common; :mod:`tables`: of a database; :mod:`files`:
  credential files
* :mod:`rows`: reading a row of them as the fields of one of ours
* :mod:`takeover`: one row after the other, from there to here; :mod:`report`: what is told of it
"""
