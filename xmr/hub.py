"""The one place that talks to the Hugging Face Hub: files of a repository are got, and a folder is pushed, once or
again and again.

`huggingface_hub` does it, with everybody's cache, token and address (HF_HOME, HF_TOKEN, HF_ENDPOINT). What it raises becomes
one sentence that says what to do. Nothing of a repository is run, and of it only the files of given names are fetched.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

QUICK = 5.0  # seconds in which the Hub has to answer
MOST_BYTES = 500_000_000_000  # of a file, as the Hub's documentation says
MOST_FILES = 10_000  # of a folder
COMMIT = re.compile(r"[0-9a-f]{40}")
NAME = re.compile(r"[\w.-]+/[\w.-]+")
NOUNS = {"model": "model", "dataset": "data set", "space": "Space"}


class HubFault(ValueError):
    """The Hub can't be asked, or refuses; the message says what to do."""


@dataclass(frozen=True)
class Repository:
    """A repository of the Hub, ORG/NAME, at a branch, tag or commit ("": its main branch)."""

    name: str
    kind: Literal["model", "dataset", "space"] = "model"
    revision: str = ""

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}" if self.revision else self.name

    @property
    def noun(self) -> str:
        return NOUNS[self.kind]


@dataclass(frozen=True)
class Pushed:
    """Where something was pushed to: its address, the commit, and whether anything changed."""

    address: str
    commit: str
    changed: bool


def unreachable() -> str | None:
    """Why the Hub can't be asked, after one quick try; None where it answers. Its own client tries for minutes, and then
    takes what is on this machine; told that it is offline it does so at once."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        get_session().head(constants.ENDPOINT, timeout=QUICK)
    except Exception as error:  # the client's own, whose library differs by version
        return str(error) or type(error).__name__
    return None


def snapshot(repository: Repository, patterns: Collection[str], download: bool = True) -> Path:
    """The folder of a repository's files of these `patterns`: those in the Hub's cache, else got from it, unless `download` is
    False. Its name is the commit. Raises HubFault."""
    from huggingface_hub import constants, errors, snapshot_download

    def got(local: bool) -> Path:
        return Path(
            snapshot_download(
                repository.name,
                repo_type=repository.kind,
                revision=repository.revision or None,
                allow_patterns=list(patterns),
                cache_dir=constants.HF_HUB_CACHE,
                endpoint=constants.ENDPOINT,
                local_files_only=local,
            )
        )

    if COMMIT.fullmatch(repository.revision):  # what a commit holds never changes
        with contextlib.suppress(OSError, errors.LocalEntryNotFoundError):
            return got(True)
    away = unreachable() if download else "it is not asked here"
    with _told(repository, "got from", away):
        return got(away is not None)


def make(repository: Repository, *, private: bool = False) -> str:
    """Makes the repository where there is none, and returns its address. Raises HubFault."""
    from huggingface_hub import HfApi, constants, get_token

    if (away := unreachable()) is not None:
        raise HubFault(f"{repository} can't be pushed: the Hub can't be reached ({away})")
    if not get_token():
        raise HubFault(
            f"{repository} can't be pushed: no token of the Hub is known here; `hf auth login`, or set HF_TOKEN"
        )
    api, kind = HfApi(endpoint=constants.ENDPOINT), repository.kind
    with _told(repository, "pushed to"):
        api.whoami()  # told before anything is made
        sdk = {"space_sdk": "gradio"} if kind == "space" else {}
        return str(
            api.create_repo(repository.name, repo_type=kind, private=private or None, exist_ok=True, **sdk)
        )


def push(
    folder: Path,
    repository: Repository,
    message: str,
    *,
    private: bool = False,
    ours: Collection[str] = (),
    mark: str = "",
) -> Pushed:
    """Makes the repository where there is none, and commits the files of `folder` that differ from those there; files that
    match `ours` and are no longer in the folder are deleted. One that broke off goes on where it was when called again.
    Raises HubFault, also where the folder is more than the Hub takes, and where the repository holds files and its README.md
    has no `mark` that an earlier push made it."""
    from huggingface_hub import HfApi, constants

    _check_sizes(folder, repository)
    made = make(repository, private=private)
    if mark and (others := _others(repository, mark)):
        some = ", ".join(others[:3]) + ", …" * (len(others) > 3)
        raise HubFault(
            f"{repository} holds other things ({some}), which no earlier call made: name another {repository.noun}, or empty it"
        )
    api, kind = HfApi(endpoint=constants.ENDPOINT), repository.kind
    with _told(repository, "pushed to"):
        before = api.repo_info(repository.name, repo_type=kind).sha
        api.upload_folder(
            repo_id=repository.name,
            repo_type=kind,
            folder_path=folder,
            commit_message=message,
            delete_patterns=list(ours) or None,
        )
        after = api.repo_info(repository.name, repo_type=kind).sha
    return Pushed(made, str(after), after != before)


def _check_sizes(folder: Path, repository: Repository) -> None:
    counts: Counter[Path] = Counter()
    for path in folder.rglob("*"):
        if path.is_file() and (size := path.stat().st_size) > MOST_BYTES:
            raise HubFault(
                f"{repository} can't be pushed: {path.relative_to(folder)} has {size:,} bytes, and the Hub takes {MOST_BYTES:,}"
            )
        counts[path.parent] += 1
    for place, count in counts.items():
        if count > MOST_FILES:
            raise HubFault(
                f"{repository} can't be pushed: {place.relative_to(folder)} has {count:,} files, and the Hub takes {MOST_FILES:,} in a folder"
            )


def _others(repository: Repository, mark: str) -> list[str]:
    """The files of a repository that was not made with that mark; none where it was, or is as the Hub makes it."""
    from huggingface_hub import HfApi, constants

    api = HfApi(endpoint=constants.ENDPOINT)
    with _told(repository, "pushed to"):
        files = api.list_repo_files(repository.name, repo_type=repository.kind)
    others = sorted({*files} - {"README.md", ".gitattributes"})
    if others and "README.md" in files:
        told = snapshot(repository, ["README.md"]) / "README.md"
        if mark in told.read_text("utf-8", "replace"):
            return []
    return others


def keep_sending(
    folder: Path,
    repository: Repository,
    minutes: float,
    more: Callable[[], bool],
    became: Callable[[str], None],
) -> Any:
    """Sends the files of `folder`, which only grow, to a repository that there is, now and every `minutes`: huggingface_hub's
    CommitScheduler, whose `trigger()` sends once more and whose `stop()` ends it.

    `more` is asked before, may write to the files, and tells whether there is anything to send; `became` is told why nothing
    could be sent, "" where it was. Raises HubFault.
    """
    from huggingface_hub import CommitScheduler, HfApi, constants

    class Scheduler(CommitScheduler):
        def push_to_hub(self) -> Any:
            try:
                if not more():
                    return None
                if (away := unreachable()) is not None:
                    raise HubFault(f"the Hub can't be reached ({away})")
                with _told(repository, "pushed to"):
                    found = super().push_to_hub()
            except (ValueError, OSError) as error:
                became(str(error))
                return None
            became("")
            return found

    with _told(repository, "pushed to"):
        return Scheduler(
            repo_id=repository.name,
            repo_type=repository.kind,
            folder_path=folder,
            path_in_repo=folder.name,
            every=minutes,
            hf_api=HfApi(endpoint=constants.ENDPOINT),
        )


def front_matter(values: dict[str, Any]) -> str:
    """What begins a README.md of the Hub."""
    from huggingface_hub.utils import yaml_dump

    return f"---\n{yaml_dump(values, sort_keys=False)}---\n\n"


@contextlib.contextmanager
def _told(repository: Repository, done: str, away: str | None = None) -> Iterator[None]:
    """Raises HubFault in a sentence for what the client raises in the block; `away` tells that the Hub could not be asked."""
    from huggingface_hub import errors

    login = "`hf auth login`"
    try:
        yield
    except errors.GatedRepoError as error:
        raise HubFault(
            f"{repository}: its owner asks for consent: give it on its page, then {login}"
        ) from error
    except errors.RevisionNotFoundError as error:
        raise HubFault(f"{repository}: there is no such revision of the {repository.noun}") from error
    except errors.RepositoryNotFoundError as error:
        raise HubFault(
            f"{repository}: no such {repository.noun} on the Hub, or a private one: {login}"
        ) from error
    except Exception as error:  # the client's own, whose library differs by version, and OSError of the disk
        if away is not None:
            raise HubFault(
                f"{repository} is not on this machine, and the Hub can't be reached ({away}); go online once, or name a folder "
                "that holds it"
            ) from error
        remedy = {
            401: f"it does not take the token; log in anew: {login}",
            403: "the token may not do that; one with the right to write is needed",
            429: "it was asked too often; wait some minutes and do it again, what is done is kept",
        }.get(getattr(getattr(error, "response", None), "status_code", 0), "")
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        why = remedy or f"{lines[0] if lines else type(error).__name__:.200}"
        again = "; do it again, and it goes on from there" if done == "pushed to" and not remedy else ""
        raise HubFault(f"{repository} can't be {done} the Hub: {why}{again}") from error
