"""Every choice that shapes a network, its losses and its training, with its default and range, written once.

The classes are frozen and strict: an unknown name is refused, with the one that was probably meant.
"""

from mttsg_core.config.catalogue import TABLES, Assignment, Setting, all_settings, parse_assignment
from mttsg_core.config.compat import upgrade_settings, with_earlier_values
from mttsg_core.config.fields import Form, Limits, OneOf, Range, from_mapping, required, setting, to_mapping
from mttsg_core.config.names import nearest, refuse_unknown
from mttsg_core.config.network import NETWORKS, NetworkConfig
from mttsg_core.config.training import LossConfig, TrainingConfig

__all__ = [
    "NETWORKS",
    "TABLES",
    "Assignment",
    "Form",
    "Limits",
    "LossConfig",
    "NetworkConfig",
    "OneOf",
    "Range",
    "Setting",
    "TrainingConfig",
    "all_settings",
    "from_mapping",
    "nearest",
    "parse_assignment",
    "refuse_unknown",
    "required",
    "setting",
    "to_mapping",
    "upgrade_settings",
    "with_earlier_values",
]
