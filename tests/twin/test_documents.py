"""The commands in the documents that start a street; the others: tests/cli/test_docs.py."""

import pytest
from rigs import documents

pytestmark = [pytest.mark.twin, pytest.mark.timeout(900)]


@documents.blocks(street=True)
def test_a_street_of_the_documents_runs(block: str) -> None:
    documents.run(block)
