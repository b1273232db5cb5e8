"""The extensions of the pages, not bound to any app yet."""

from __future__ import annotations

from flask_bootstrap import Bootstrap5
from flask_compress import Compress
from flask_wtf import CSRFProtect

bootstrap = Bootstrap5()
compress = Compress()
csrf = CSRFProtect()
