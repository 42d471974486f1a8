import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vsbatch_core import VectorStoreFile
from vsbatch_core.encoding import to_json
from vsbatch_core.model import FILE_STATUSES, FrozenDict, LastError, Page
from vsbatch_core.model import StaticFileChunkingStrategy as Chunks
from vsbatch_core.model import StaticFileChunkingStrategyObject as Chunking
from vsbatch_core.wire import to_wire

from ..helpers.brief import examples
from ..helpers.strategies import Command, all_reads, any_text, filled, histories, views

READS = all_reads()

files = st.builds(
    VectorStoreFile,
    any_text,
    st.integers(0, 2**40),
    any_text,
    st.sampled_from(FILE_STATUSES),
    st.integers(0, 2**63 - 1),
    st.none() | st.builds(LastError, st.just("server_error"), any_text),
    st.builds(Chunking, st.builds(Chunks, max_chunk_size_tokens=st.integers(100, 4096))),
    st.dictionaries(any_text, any_text | st.booleans() | st.floats(allow_nan=False)).map(FrozenDict),
)
pages = st.builds(Page, st.lists(files, max_size=5).map(tuple), st.booleans())


def compact(value: Any) -> bytes:
    return json.dumps(to_wire(value), separators=(",", ":")).encode()


@given(files | pages)
def test_any_file_or_page_is_written_byte_for_byte_as_its_dict_is(value: Any) -> None:
    assert to_json(value) == compact(value)


@given(histories)
@settings(max_examples=examples(20))
def test_all_that_an_engine_answers_and_tells_is_written_as_its_dict_is(history: list[Command]) -> None:
    engine, told, _ = filled(history)
    answers = [value for value in views(engine, READS) if not isinstance(value, (tuple, list))]
    for value in answers + told:
        assert to_json(value) == compact(value)
