"""Indexes kept in xmr's cache: written aside and renamed, opened memory-mapped, and only where they are our own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from pydantic import TypeAdapter, ValidationError

from xmr.cache import cache_dir
from xmr.checksums import digest_of
from xmr.disk import Refused, aside, parse_json, read, write
from xmr.locks import holding
from xmr.search.approximate import PROBES, ApproximateIndex, Index, build_index
from xmr.search.exact import ExactIndex, Facts

FORMAT = 2
MAX_JSON = 1 << 16  # bytes
INDEX, FACTS = "index.faiss", "index.json"


def cached_index(vectors: np.ndarray, recall: float = 1.0, *, queries: np.ndarray | None = None) -> Index:
    """`build_index`, whose result is kept in xmr's cache: opened there, or built again where it can't be.

    One process builds while others wait. Raises what `build_index` raises.
    """
    if recall == 1:  # nothing to build, so nothing to keep
        return build_index(vectors, recall, queries=queries)
    exact = ExactIndex(vectors)
    asked = None if queries is None else fingerprint(np.ascontiguousarray(queries, np.float32))
    known = fingerprint(exact.vectors)
    key = json.dumps([FORMAT, known, recall, asked])
    folder = cache_dir("indexes", hashlib.sha256(key.encode()).hexdigest()[:16])
    with holding(folder, wait=True):
        if (kept := _opened(folder, exact, known)) is not None:
            return kept
        index = build_index(exact.vectors, recall, queries=queries)
        try:
            _save(index, folder, known)
        except OSError as error:  # a full disk must not keep anybody from searching
            index.facts = replace(index.facts, note=f"{index.facts.note}; not saved: {error}")
            return index
        return _opened(folder, exact, known) or index  # memory-mapped from the first day on


def fingerprint(vectors: np.ndarray) -> str:
    """SHA-256 of shape and content of contiguous float32 vectors."""
    known = hashlib.sha256(f"float32 {vectors.shape}".encode())
    known.update(vectors.data)
    return known.hexdigest()


def _save(index: Index, folder: Path, vectors: str) -> None:
    """Writes `index.faiss` (nothing for an exact index) and `index.json`, which vouches for it and comes last.

    Raises OSError where the disk doesn't take it, and what was there before stays.
    """
    about: dict[str, Any] = {"format": FORMAT, "vectors": vectors, "facts": asdict(index.facts)}
    if isinstance(index, ApproximateIndex):
        with aside(folder / INDEX) as file:
            try:
                faiss.write_index(index.proposer, str(file))
            except RuntimeError as error:
                raise OSError(str(error)) from error
            about["sha256"] = digest_of(file)
    write(folder / FACTS, json.dumps(about, indent=1, allow_nan=False))


def _opened(folder: Path, exact: ExactIndex, vectors: str) -> Index | None:
    """The index that `_save` wrote for these vectors, its file memory-mapped; None where anything differs.

    faiss trusts what it reads, so it is given a plain file in xmr's own cache only, whose SHA-256 and that of the vectors
    are those in `index.json`.
    """
    try:
        about = parse_json(read(folder / FACTS, MAX_JSON), FACTS)
        facts = TypeAdapter(Facts).validate_python(about["facts"])
        if (about["format"], about["vectors"]) != (FORMAT, vectors):
            return None
        if facts.kind == "exact":
            exact.facts = facts
            return exact
        path = folder / INDEX
        plain = path.is_file() and not path.is_symlink()
        ours = plain and facts.setting in PROBES and digest_of(path) == about["sha256"]
        proposer = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC) if ours else None
    except (Refused, ValidationError, OSError, KeyError, TypeError, RuntimeError):
        return None
    if proposer is None or (proposer.ntotal, proposer.d) != exact.vectors.shape:
        return None
    return ApproximateIndex(exact, proposer, facts)
