# What the `flask` command loads: the factory, and not wsgi.py, whose check at start would keep away the very commands
# that put things right. Nothing secret belongs here.
FLASK_APP=app
