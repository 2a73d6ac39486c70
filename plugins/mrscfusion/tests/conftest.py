"""What the tests of this plugin share: the number of threads."""

from __future__ import annotations

from helpers.threads import use_one_thread

use_one_thread()
