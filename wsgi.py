"""What a WSGI server loads: ``gunicorn wsgi:app``. Ends the process unless it is fit to serve.

The ``flask`` command does not come this way (see .flaskenv): it has the commands that put things right.
"""

from app import create_app
from app.logs import log_to_standard_error
from app.startup import check_start, load_settings_or_exit, say

log_to_standard_error()
settings = load_settings_or_exit()
app = create_app(settings)
with app.app_context():
    for line in check_start(app, settings):
        say(line)
