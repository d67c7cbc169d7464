"""Short ways to write the parts of a `TaskSpec`."""

from __future__ import annotations

from types import MappingProxyType

from polystilts.tasks.spec import HubFiles, LocalFiles


def frozen(**values: str) -> MappingProxyType[str, str]:
    """A read-only mapping."""
    return MappingProxyType(values)


def codes(text: str) -> tuple[str, ...]:
    """``"de en"`` -> the languages."""
    return tuple(text.split())


def by_benchmark(xtreme: str = "", xtreme_r: str = "") -> MappingProxyType[str, tuple[str, ...]]:
    """Benchmark -> its list of languages, as in XTREME's evaluate.py; a benchmark without the task has no entry."""
    lists = {"xtreme": codes(xtreme), "xtreme-r": codes(xtreme_r)}
    return MappingProxyType({name: languages for name, languages in lists.items() if languages})


def three_splits(id: str, config: str = "{language}", **rest: object) -> HubFiles:
    """A hub repository with train, validation and test under these names."""
    return HubFiles(id, config, splits=frozen(train="train", validation="validation", test="test"), **rest)  # type: ignore[arg-type]


def xtreme_files(reader: str, folder: str, splits: str = "train validation test") -> LocalFiles:
    """Files ``FOLDER/{train,dev,test}-LANGUAGE.tsv``, as XTREME's preparation writes them."""
    files = {"train": "train", "validation": "dev", "test": "test"}
    return LocalFiles(reader, frozen(**{name: f"{folder}/{files[name]}-{{language}}.tsv" for name in splits.split()}))


def table(**splits: str) -> LocalFiles:
    """Files with one row a record (csv with a header, json lines, a json list), in the hub's columns."""
    return LocalFiles("table", frozen(**splits))
