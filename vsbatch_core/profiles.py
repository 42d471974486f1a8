"""Profiles of servers that are known, so that an embedder keeps the behaviour that its clients have met.

Each follows what was read or measured of a server in the points that a ``Profile`` speaks of, and is the default
in all others.  It follows no defect: whatever the profile, counts add up, a batch that is cancelled ends, a walk
shows every file once, and limits and words are checked.

>>> from vsbatch_core import Engine, profiles
>>> Engine(profile=profiles.OGX).profile.all_failed
'completed'
"""

from __future__ import annotations

from vsbatch_core.model import Profile

REFERENCE = Profile(cancel_answer="in_progress")
"""The OpenAPI document and its examples (documented): the enum's word for the ``object`` of a batch, a name
that is always a string, and a cancel that returns the batch as ``in_progress``, with no file cancelled."""

RECORDED = Profile(batch_object="vector_store.file_batch", unnamed_store="null")
"""The recordings of live traffic (recorded): the word ``vector_store.file_batch`` in every one, ``name`` null
for a store without a name, a batch that is ``failed`` when all its files are, a cancel of a finished batch that
changes nothing.  They disagree about ties: this is the order of openai-dotnet's ``CanPaginate…``."""

OPENAI_RESPONSES = Profile(unknown_cursor="first_page")
"""The pytest mock openai-responses 0.13.1 (measured): an unknown cursor gives page one.

Of a file that a request names twice its list shows one, as here; its ``total`` counts both, which is a defect.
"""

OGX = Profile(all_failed="completed", unknown_cursor="first_page", ties="same_both_ways")
"""The server OGX 1.5.0, formerly Llama Stack (measured): a batch whose files all failed is ``completed``, an
unknown cursor gives page one, and ``desc`` equals ``asc`` for files of one second."""

BY_NAME: dict[str, Profile] = {
    "default": Profile(),
    "reference": REFERENCE,
    "recorded": RECORDED,
    "openai-responses": OPENAI_RESPONSES,
    "ogx": OGX,
}
"""All of them, and the default, by the names that the command line takes."""
