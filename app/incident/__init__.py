"""After a break-in: what was exposed and whom to tell, and how far the replacement of both keys is.

* :mod:`keys`: the life of a key, and which secrets were ever under it
* :mod:`trail`: what the audit trail tells of secrets: used, replaced, deleted
* :mod:`kinds`: what each secret is called, and who must reissue it
* :mod:`exposure`: the report, tenant by tenant; :mod:`statements`: what it asks the database
* :mod:`telling`: the same in words, and as JSON
* :mod:`standing`: how far the replacement of both keys is, and its proof

Nothing here opens a stored secret.
"""
