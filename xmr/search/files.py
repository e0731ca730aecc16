"""Indexes kept between runs: written aside and renamed, opened memory-mapped, and only where they are our own."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from xmr.cache import cache_dir
from xmr.checksums import digest_of
from xmr.disk import Refused, aside, parse_json, read, write
from xmr.locks import holding
from xmr.search.approximate import FACTORY, NAMES, ApproximateIndex, build_index
from xmr.search.exact import ExactIndex, Facts, Kind

FORMAT = 1
MAX_JSON = 1 << 16  # bytes
INDEX, FACTS = "index.faiss", "index.json"


class IndexRefused(ValueError):
    """A folder that holds no whole index of these vectors that this program wrote; the message tells why."""


def save_index(index: ExactIndex | ApproximateIndex, folder: Path) -> None:
    """Writes `index.faiss` (nothing for an exact index) and `index.json`, which vouches for it and comes last.

    Raises ValueError where `folder` is not below xmr's cache, for it would never be opened there; OSError where
    the disk doesn't take it, and what was there before stays.
    """
    _save(index, _ours(folder), fingerprint(index.vectors))


def _save(index: ExactIndex | ApproximateIndex, folder: Path, vectors: str) -> None:
    about: dict[str, Any] = {"format": FORMAT, "vectors": vectors, **asdict(index.facts)}
    if isinstance(index, ApproximateIndex):
        with aside(folder / INDEX) as file:
            try:
                faiss.write_index(index.proposer, str(file))
            except RuntimeError as error:
                raise OSError(str(error)) from error
            about |= {"bytes": file.stat().st_size, "sha256": digest_of(file)}
    write(folder / FACTS, json.dumps(about, indent=1, allow_nan=False))


def open_index(folder: Path, vectors: np.ndarray) -> ExactIndex | ApproximateIndex:
    """The index that `save_index` wrote for these vectors, its file memory-mapped.

    faiss trusts what it reads, so a file is opened only below xmr's own cache and where its SHA-256 and that of
    the vectors are those in `index.json`. Raises IndexRefused where anything differs: build it again.
    """
    try:
        folder = _ours(folder)
    except ValueError as error:
        raise IndexRefused(str(error)) from error
    exact = ExactIndex(vectors)
    return _open(folder, exact, fingerprint(exact.vectors))


def _open(folder: Path, exact: ExactIndex, vectors: str) -> ExactIndex | ApproximateIndex:
    about, facts = _read_facts(folder)
    if about.get("vectors") != vectors:
        raise IndexRefused(f"{folder / FACTS} is about other vectors than these {exact.vectors.shape}")
    if facts.kind == "exact":
        exact.facts = facts
        return exact
    path = folder / INDEX
    if path.is_symlink() or not path.is_file():
        raise IndexRefused(f"{path} is missing or no plain file")
    if path.stat().st_size != about.get("bytes"):
        raise IndexRefused(f"{path} has {path.stat().st_size:,} bytes, not {about.get('bytes')}: truncated?")
    if digest_of(path) != about.get("sha256"):
        raise IndexRefused(f"{path} was altered: its SHA-256 is not the one in {FACTS}")
    try:
        proposer = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise IndexRefused(f"{path} could not be read: {error}") from error
    if (proposer.ntotal, proposer.d) != exact.vectors.shape:
        raise IndexRefused(
            f"{path} holds {proposer.ntotal, proposer.d}, the vectors are {exact.vectors.shape}"
        )
    return ApproximateIndex(exact, proposer, facts)


def cached_index(
    vectors: np.ndarray,
    recall: float = 1.0,
    *,
    k: int = 10,
    queries: np.ndarray | None = None,
    memory_mb: float | None = None,
    kind: Kind | None = None,
) -> ExactIndex | ApproximateIndex:
    """`build_index`, whose result is kept in xmr's cache: opened there, or built again where it can't be.

    One process builds while others wait. Raises what `build_index` raises.
    """
    if recall == 1 and kind is None:  # nothing to build, so nothing to keep
        return build_index(vectors, recall, k=k, queries=queries, memory_mb=memory_mb)
    exact = ExactIndex(vectors)
    asked = None if queries is None else fingerprint(np.ascontiguousarray(queries, np.float32))
    known = fingerprint(exact.vectors)
    key = json.dumps([FORMAT, known, recall, k, asked, memory_mb, kind])
    folder = cache_dir("indexes", hashlib.sha256(key.encode()).hexdigest()[:16])
    with holding(folder, wait=True):
        try:
            return _open(folder, exact, known)
        except IndexRefused:
            pass
        index = build_index(exact.vectors, recall, k=k, queries=queries, memory_mb=memory_mb, kind=kind)
        try:
            _save(index, folder, known)
        except OSError as error:  # a full disk must not keep anybody from searching
            index.facts = replace(index.facts, note=f"{index.facts.note}; not saved: {error}")
            return index
        return _open(folder, exact, known)  # memory-mapped from the first day on


def fingerprint(vectors: np.ndarray) -> str:
    """SHA-256 of shape and content of contiguous float32 vectors."""
    known = hashlib.sha256(f"float32 {vectors.shape}".encode())
    known.update(vectors.data)
    return known.hexdigest()


def _ours(folder: Path) -> Path:
    """`folder` without links. Raises ValueError where it is not below xmr's cache."""
    folder, root = Path(folder).resolve(), cache_dir().resolve()
    if not folder.is_relative_to(root):
        raise ValueError(f"indexes are kept below {root} only, found {folder}: XMR_CACHE moves it")
    return folder


def _read_facts(folder: Path) -> tuple[dict[str, Any], Facts]:
    path = folder / FACTS
    try:
        about = parse_json(read(path, MAX_JSON), FACTS)
        if about["format"] != FORMAT:
            raise IndexRefused(f"{path} has format {about['format']}, this program writes {FORMAT}")
        facts = Facts(**{name: about[name] for name in Facts.__dataclass_fields__})
        sound = facts.kind in ("exact", *FACTORY) and (
            facts.kind not in NAMES or (type(facts.setting) is int and 0 < facts.setting < 10_000)
        )
    except IndexRefused:
        raise
    except Refused as error:
        raise IndexRefused(f"{path} is no description of an index: {error}") from error
    except (KeyError, TypeError) as error:
        raise IndexRefused(f"{path} is no description of an index: {error!r}") from error
    if not sound:
        raise IndexRefused(f"{path} tells kind {facts.kind!r} with setting {facts.setting!r}")
    return about, facts
