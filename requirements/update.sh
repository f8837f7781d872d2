#!/usr/bin/env bash
# Write lock.txt and lowest.txt anew from pyproject.toml (pip install uv). Then run the tests with both, see .ci/run.
set -euo pipefail
cd "$(dirname "$0")"

# Never a library's source: what has no wheel is not installed by users either.
compile() { uv pip compile --quiet --no-header --no-annotate --only-binary :all: --all-extras "$@" ../pyproject.toml; }

{
    cat << 'HEADER'
# The versions that CI tests and the container installs, for every Python and platform that the package supports.
# A constraints file (pip install -c requirements/lock.txt ...): it pins what is installed and installs nothing.
# Without hashes: torch's CPU build has the version number of the CUDA build and other files.
# Written by requirements/update.sh.
HEADER
    compile --universal --python-version 3.10
} > lock.txt.new

{
    cat << 'HEADER'
# The lowest versions that pyproject.toml allows, with the newest of what these need; Python 3.11 on Linux.
# A constraints file for the run of the fast tests that keeps the lower bounds true (.ci/run).
# Written by requirements/update.sh.
HEADER
    compile --resolution lowest-direct --python-version 3.11
} > lowest.txt.new

mv lock.txt.new lock.txt
mv lowest.txt.new lowest.txt
