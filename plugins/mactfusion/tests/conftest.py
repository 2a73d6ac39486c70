"""What the tests of this plugin share: the number of threads."""

from __future__ import annotations

import os

import torch

# Their images are small: threads that wait for each other would take longer. Programs that they start do likewise.
os.environ.setdefault("OMP_NUM_THREADS", "1")
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
