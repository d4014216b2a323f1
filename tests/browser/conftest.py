"""The tests in a browser are there where Chromium is, and what drives it: Debian's chromium and chromium-driver."""

import shutil

collect_ignore = [] if shutil.which("chromium") and shutil.which("chromedriver") else ["test_playground.py"]
