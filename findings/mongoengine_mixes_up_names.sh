#!/usr/bin/env bash
# mongoengine reads another field's value where a field's stored name is the name of another attribute.
#
# Versions: mongoengine 0.29.3, pymongo 4.20.1, Python 3.11. No server is needed.
# Expected: of class D with a = StringField(db_field="b"), b = StringField(db_field="c"), the stored {b: "A", c: "B"} is a: "A", b: "B".
# Seen:     a: None, and b: "B" or "A", whichever key is stored last: `BaseDocument._from_son` puts both kinds of names into one dictionary.
# So `history.as_of`, which goes by the stored names, can differ from what `objects.get` gives for such a class; history is right.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet --disable-pip-version-check mongoengine==0.29.3 pymongo==4.20.1
"$scratch/venv/bin/python" - <<'PY'
import itertools

import mongoengine as me


class D(me.Document):
    a = me.StringField(db_field="b")
    b = me.StringField(db_field="c")


wrong = []
stored = {"b": "A", "c": "B"}
for keys in itertools.permutations(stored):
    read = D._from_son({key: stored[key] for key in keys})
    print(f"stored {dict((key, stored[key]) for key in keys)}  read a: {read.a!r}, b: {read.b!r}")
    wrong.append((read.a, read.b) != ("A", "B"))
raise SystemExit(not any(wrong))
PY
