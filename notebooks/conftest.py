"""Tests of the notebooks keep their progress in a folder of their own, and leave a learner's alone."""

import os
import tempfile

HOME = tempfile.TemporaryDirectory(prefix="etlkit-")
os.environ["ETLKIT_HOME"] = HOME.name
