"""The policy as a JSON Schema (draft 7), so that editors complete keys and mark mistakes while a policy is written.

Decides only how a declaration is spelled in JSON Schema; types, ranges, defaults and explanations come from the settings
classes. Promises that whatever breaks the schema is refused by the loader too; agreement between keys is beyond a schema.
It must not know what any key means. https://json-schema.org/draft-07
"""

from __future__ import annotations

from typing import Any

import msgspec

from wickguard.policy.schema import Section, sections
from wickguard.setting import Setting, settings_of, summary_of
from wickguard.units import SIZE_PATTERN

Json = dict[str, Any]


def json_schema() -> Json:
    """The schema of a policy file."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "wickguard policy",
        **_table({section.name: _section(section) for section in sections()}),
    }


def _section(section: Section) -> Json:
    properties = {setting.key: _key(setting) for setting in settings_of(section.kind)}
    about = {"description": summary_of(section.kind)}
    if not section.named:
        return {**about, **_table(properties)}
    return {
        **about,
        "type": "object",
        "propertyNames": {"minLength": 1, "maxLength": 64},
        "additionalProperties": _table(properties),
    }


def _table(properties: Json) -> Json:
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _key(setting: Setting) -> Json:
    kind = {"enum": list(setting.choices)} if setting.choices else msgspec.json.schema(setting.kind)
    found: Json = {"description": setting.explanation, "type": "string", **kind}
    if setting.low is not None:
        # Bounds say nothing about text, and the pattern nothing about numbers.
        found |= {"minimum": setting.low, "maximum": setting.high}
    if setting.counts_bytes:
        found |= {"type": ["integer", "string"], "pattern": f"^{SIZE_PATTERN}$"}
    default = list(setting.default) if isinstance(setting.default, tuple) else setting.default
    return found | {"default": default}
