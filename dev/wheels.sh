#!/usr/bin/env sh
# Checks that every pin of constraints.txt has a wheel for every Python that pyproject.toml promises; installs nothing.
# PIP is the pip to ask with (default: pip). The four packages below exist as source only, in Python alone; pip builds them.
set -eu
cd "$(dirname "$0")/.."
pip=${PIP:-pip}
sources='^(antlr4-python3-runtime|rouge_score|sqlitedict|word2number)=='
pins=$(mktemp)
trap 'rm -rf "$pins" "$pins.target"' EXIT
grep -vE "^#|^torch==|$sources" constraints.txt >"$pins"
torch=$(sed -n 's/^torch==//p' constraints.txt)

for version in $(sed -n 's/.*"Programming Language :: Python :: \(3\.[0-9]*\)".*/\1/p' pyproject.toml); do
    $pip install --quiet --dry-run --no-deps --ignore-installed --only-binary=:all: --python-version "$version" \
        --target "$pins.target" --requirement "$pins" >/dev/null
    # torch's wheel is 0.5 GB: the index only tells here which versions have one
    $pip index versions torch --only-binary=:all: --python-version "$version" | tr ', ' '\n\n' | grep -qxF "$torch" || {
        echo "torch==$torch has no wheel for Python $version." >&2
        exit 1
    }
    echo "Python $version: each of $(($(wc -l <"$pins") + 1)) pins has a wheel."
done
