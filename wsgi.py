"""What a WSGI server loads: ``gunicorn wsgi:app``. Ends the process unless it is fit to serve.

The ``flask`` command does not come this way (see .flaskenv): it has the commands that put things right.
"""

from app.startup import create_serving_app

app = create_serving_app()
