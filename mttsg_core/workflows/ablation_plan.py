"""What an ablation trains: variants of the method, each with several seeds, on the data as it is or divided anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from mttsg_core import __version__
from mttsg_core.checkpoints.checkpoint import CONFIG, REPORT
from mttsg_core.checkpoints.files import read_json_if_any, write_json
from mttsg_core.checkpoints.provenance import rows_digest
from mttsg_core.checkpoints.runs import has_state
from mttsg_core.config import TABLES, NetworkConfig, to_mapping
from mttsg_core.config.catalogue import find_setting, toml_value
from mttsg_core.config.fields import check_value
from mttsg_core.data.division import LEFT, REST, divide_by_share, divide_into_folds
from mttsg_core.data.folder import DataFolder
from mttsg_core.data.folder_defaults import read_defaults
from mttsg_core.errors import ConfigError, DataError
from mttsg_core.features.digest import digest_features
from mttsg_core.workflows.options import AblateOptions, FeatureOptions
from mttsg_core.workflows.settings import TrainingSettings
from mttsg_core.workflows.train import Configs
from mttsg_core.workflows.train_seeds import with_seed

WHOLE, PLAIN = "whole method", "plain network"
MODULES = tuple(name for name in NetworkConfig.SWITCHES if name != "offsets")  # without them, a network is plain
_NOTE = "ablation.json"


class Variant(NamedTuple):
    """A variant of the method: its name, and the settings in which it differs, by table."""

    name: str
    changes: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class PlannedRun:
    """A run of a variant.

    Attributes:
        variant: its name.
        seed: of the training.
        data: the data folder, divided for it.
        split: that it is tested on.
        folder: of its model.
        settings: of training, network and losses, as `train` takes them.
        inputs: what its model depends on; a model is used again only if all of it is the same.
        tested: what its answers depend on beside the model, likewise.
    """

    variant: str
    seed: int
    data: DataFolder
    split: str
    folder: Path
    settings: Configs
    inputs: Mapping[str, Any]
    tested: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Variant, seed and fold in a few words."""
        division = f", {self.data.division}" if self.data.division else ""
        return f"{self.variant}, seed {self.seed}{division}"

    @property
    def predictions(self) -> Path:
        """The file of its answers."""
        return self.folder / f"predictions-{self.split}.jsonl"

    @property
    def is_begun(self) -> bool:
        """Whether the folder has this very run, finished or not."""
        return self._note().get("inputs") == self.inputs

    @property
    def is_trained(self) -> bool:
        """Whether its model is finished."""
        return self.is_begun and (self.folder / REPORT).is_file()

    @property
    def is_done(self) -> bool:
        """Whether its answers exist."""
        answers = self._note().get("answers", {})
        return self.is_trained and self.predictions.is_file() and answers.get(self.split) == self.tested

    @property
    def is_stopped(self) -> bool:
        """Whether its training was begun, and can go on."""
        return self.is_begun and has_state(self.folder)

    def begin(self) -> None:
        """Note in its folder which run it is."""
        write_json(self.folder / _NOTE, {"inputs": self.inputs, "answers": {}})

    def finish(self) -> None:
        """Note in its folder that its answers are there."""
        note = self._note()
        write_json(self.folder / _NOTE, {**note, "answers": {**note["answers"], self.split: self.tested}})

    def require_own(self) -> None:
        """Raise ConfigError if the folder has another run, or a model that is not of an ablation."""
        note = self._note()
        if note and not self.is_begun:
            changed = ", ".join(_differences(note.get("inputs", {}), self.inputs))
            raise ConfigError(
                f"{self.folder}: has a run that differs in {changed}; use another --out, or --overwrite to train anew"
            )
        if not note and (self.folder / CONFIG).exists():
            raise ConfigError(f"{self.folder}: already has a model; use another --out, or --overwrite")

    def _note(self) -> dict[str, Any]:
        return read_json_if_any(self.folder / _NOTE)


def plan_variants(options: AblateOptions, network: str = NetworkConfig.network) -> list[Variant]:
    """Return the variants: the whole method first.

    Where none are asked for, each part is left out alone, and all of them together but for the offsets.

    Args:
        options: variants that are asked for.
        network: whose parts they are.

    Raises:
        ConfigError: for a part or a setting that does not exist, or a value that it cannot have.

    >>> [variant.name for variant in plan_variants(AblateOptions(without=[["objects"]], vary={"loss.intra": [0, 1]}))]
    ['whole method', 'without objects', 'loss.intra=0.0', 'loss.intra=1.0']
    """
    without = list(options.without)
    if not without and not options.vary:
        without = [*([part] for part in NetworkConfig.parts_of(network)), [*MODULES]]
    variants = [Variant(WHOLE, {})]
    for parts in without:
        name = PLAIN if set(parts) == set(MODULES) else f"without {' and '.join(parts)}"
        variants.append(Variant(name, {"network": NetworkConfig.switched_off(parts)}))
    for key, values in options.vary.items():
        setting = find_setting(key)
        declared = next(one for one in fields(TABLES[setting.table]) if one.name == setting.name)
        for value in values:
            checked = check_value(declared, value, key)
            shown = checked if isinstance(checked, str) else toml_value(checked)
            variants.append(Variant(f"{key}={shown}", {setting.table: {setting.name: checked}}))
    names = [variant.name for variant in variants]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"{twice}: given twice")
    return variants


def plan_runs(
    data: DataFolder,
    out: Path,
    settings: Configs,
    features: FeatureOptions,
    options: AblateOptions,
) -> list[PlannedRun]:
    """Return the runs, in the order in which they are trained: all variants with the first seed, then the next.

    Variants that change nothing, as where a part is off already, are left out.

    Args:
        data: the data folder.
        out: folder of the runs.
        settings: of training, network and losses, of every variant.
        features: options of the features.
        options: seeds, variants and division.

    Raises:
        ConfigError: if a variant, a setting or the division cannot be used.
        DataError: if a split does not exist or cannot be read.
    """
    network = TrainingSettings.merge(*settings, None, read_defaults(data.path).tables).network
    variants = plan_variants(options, network.get("network", NetworkConfig.network))
    divided, split = _divide(data, options)
    options_of_features = _given(features)
    learned = [{**_digests(one, ("train", "val")), **options_of_features} for one in divided]
    tested = [_digests(one, (split,)) for one in divided]
    runs: list[PlannedRun] = []
    for seed in options.seeds:
        for fold, one in enumerate(divided):
            seen: list[Mapping[str, Any]] = []
            for variant in variants:
                given = _with_changes(settings, variant.changes, seed)
                described = _described(TrainingSettings.merge(*given, None, read_defaults(data.path).tables))
                if described in seen:
                    continue
                seen.append(described)
                folder = out / variant.name.replace(" ", "-") / f"seed-{seed}"
                folder = folder / f"fold-{fold + 1}" if options.folds else folder
                inputs = {**learned[fold], **described}
                runs.append(PlannedRun(variant.name, seed, one, split, folder, given, inputs, tested[fold]))
    return runs


def _divide(data: DataFolder, options: AblateOptions) -> tuple[list[DataFolder], str]:
    """Return the data folders of the folds, or the only one, and the split to test on."""
    divided: list[DataFolder] = [data]
    if options.folds:
        divided, own = [*divide_into_folds(data, options.folds)], LEFT
    elif options.share is not None:
        divided, own = [divide_by_share(data, options.share)], REST
    else:
        own = "val"
    split = options.split or own
    if split not in divided[0].splits:
        raise DataError(f"{data.path}: no split {split!r}; available: {', '.join(divided[0].splits)}")
    return divided, split


def _digests(data: DataFolder, splits: Sequence[str]) -> dict[str, Any]:
    """Return digests of the rows of splits, those that exist, and of the features or the videos of these rows."""
    pairs = [
        replace(pair, video=data.video_key(pair.video))
        for name in splits
        if name in data.splits
        for pair in data.split(name, require_moment=True, check_videos=False).pairs
    ]
    existing: dict[str, Path] = {}
    for pair in pairs:
        match, video = data.match_features(pair.video), data.find_video(pair.video)
        found = {} if match is None else match.files(pair.video)
        existing |= found or ({} if video is None else {pair.video: video})
    return {"rows": rows_digest(pairs), "features": digest_features(existing).digest}


def _given(features: FeatureOptions) -> dict[str, Any]:
    """Return the options of the features that are given, and the version that makes and reads them."""
    values = {field.name: getattr(features, field.name) for field in fields(features) if field.name != "features"}
    return {"options": {name: value for name, value in values.items() if value is not None}, "mttsg": __version__}


def _described(settings: TrainingSettings) -> dict[str, Any]:
    network = {name: value for name, value in settings.network.items() if value != getattr(NetworkConfig, name, None)}
    return {"training": to_mapping(settings.training), "loss": to_mapping(settings.loss), "network": network}


def _with_changes(settings: Configs, changes: Mapping[str, Mapping[str, Any]], seed: int) -> Configs:
    """Return settings with those of a variant, and another seed."""
    config, network, loss = settings
    return (
        with_seed(_changed(config, changes.get("training", {})), seed),
        _changed(network, changes.get("network", {})),
        _changed(loss, changes.get("loss", {})),
    )


def _changed(given: Any, changes: Mapping[str, Any]) -> Any:
    """Return settings with some changed."""
    if not changes:
        return given
    values = dict(given) if isinstance(given, Mapping) else {} if given is None else to_mapping(given)
    return {**values, **changes}


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of what differs between two runs."""
    for name in dict.fromkeys([*before, *now]):
        old, new = before.get(name), now.get(name)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from (f"{name}.{key}" for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key))
        else:
            yield name
