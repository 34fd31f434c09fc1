"""The SARIF report: findings as code scanning reads them (SARIF 2.1.0, OASIS 2020).

Decides how a finding about a server becomes a result about a location: the route is the artifact. Promises one rule for
each case, one result for each finding, fingerprints that stay the same from run to run, and that the log is valid by the
official schema. It must not know how anything was measured.
"""

from __future__ import annotations

import hashlib
from typing import Any, TextIO
from urllib.parse import urlsplit

import msgspec

from wickguard.probe.events import Planned
from wickguard.probe.finding import Finding, Severity, Taxonomy
from wickguard.probe.result import Result

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
# GitHub shows security-severity as critical from 9, high from 7, medium from 4.
_SECURITY_SEVERITY = {Severity.ERROR: "8.0", Severity.WARNING: "5.0", Severity.NOTE: "2.0"}


def write_sarif(result: Result, file: TextIO) -> None:
    """Write the findings of `result` as one SARIF log with one run."""
    file.write(msgspec.json.format(msgspec.json.encode(sarif(result)).decode(), indent=2) + "\n")


def sarif(result: Result) -> dict[str, Any]:
    """The log as a document."""
    planned = {item.case: item for item in result.planned}
    cases = sorted(
        {finding.case for finding in result.findings} | {item.case for item in result.planned if not item.skip}
    )
    index = {case: number for number, case in enumerate(cases)}
    version = result.started.version if result.started else "0"
    driver = {
        "name": "wickguard probe",
        "version": version,
        "semanticVersion": version,
        "rules": [_rule(case, planned.get(case), result) for case in cases],
    }
    run: dict[str, Any] = {
        "tool": {"driver": driver},
        "invocations": [_invocation(result)],
        "results": [_result(finding, index, result) for finding in result.findings],
        "columnKind": "utf16CodeUnits",
    }
    if result.started:
        run["automationDetails"] = {"id": f"wickguard-probe/{result.started.dialect}{result.started.path}/"}
        run["properties"] = {
            "target": result.started.target,
            "model": result.started.model,
            "profile": result.started.profile,
            "seed": result.started.seed,
        }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(case: str, planned: Planned | None, result: Result) -> dict[str, Any]:
    mine = [finding for finding in result.findings if finding.case == case]
    title = mine[0].title if mine else planned.title if planned else case
    taxonomy = mine[0].taxonomy if mine else planned.taxonomy if planned else Taxonomy()
    worst = max((finding.severity for finding in mine), key=lambda severity: severity.rank, default=Severity.WARNING)
    rule: dict[str, Any] = {
        "id": case,
        "name": _pascal(title),
        "shortDescription": {"text": title},
        "fullDescription": {
            "text": f"{title}. Grown: {planned.feature}." if planned and planned.feature else f"{title}."
        },
        "defaultConfiguration": {"level": str(worst)},
        "properties": {
            "tags": ["security", "availability", *_tags(taxonomy)],
            "security-severity": _SECURITY_SEVERITY[worst],
            "precision": "high",
        },
    }
    remedy = next((finding.remedy for finding in mine if finding.remedy), "")
    if remedy:
        rule["help"] = {"text": remedy[0].upper() + remedy[1:] + "."}
    return rule


def _result(finding: Finding, index: dict[str, int], result: Result) -> dict[str, Any]:
    path = finding.reproducer.path if finding.reproducer else result.started.path if result.started else "/"
    base = result.started.target if result.started else ""
    identity = f"{finding.case}:{finding.oracle}:{path}"
    found: dict[str, Any] = {
        "ruleId": finding.case,
        "ruleIndex": index[finding.case],
        "level": str(finding.severity),
        "message": {"text": _message(finding)},
        "locations": [_location(base, path)],
        "partialFingerprints": {"caseOracleRoute/v1": hashlib.sha256(identity.encode()).hexdigest()},
        "properties": {
            "oracle": str(finding.oracle),
            "measured": finding.measured,
            "bound": finding.bound,
            "unit": finding.unit,
        },
    }
    if finding.fit is not None:
        found["properties"]["growth"] = finding.fit.describe()
    if finding.reproducer is not None:
        found["properties"]["reproducer"] = {
            "recipe": finding.reproducer.recipe,
            "requestBytes": finding.reproducer.request_bytes,
            "sha256": finding.reproducer.digest,
        }
    return found


def _location(base: str, path: str) -> dict[str, Any]:
    # An artifact of a repository is what viewers expect; a route is one without its leading slash.
    parts = urlsplit(base if "://" in base else f"http://{base}")
    url = f"{parts.scheme}://{parts.netloc}{path}"
    return {
        "physicalLocation": {"artifactLocation": {"uri": path.lstrip("/") or "."}, "region": {"startLine": 1}},
        "logicalLocations": [{"fullyQualifiedName": url, "kind": "resource"}],
    }


def _message(finding: Finding) -> str:
    text = f"{finding.title}: {'; '.join(finding.evidence)}." if finding.evidence else f"{finding.title}."
    return f"{text} To do: {finding.remedy}." if finding.remedy else text


def _invocation(result: Result) -> dict[str, Any]:
    ended = result.ended
    done: dict[str, Any] = {"executionSuccessful": ended is not None and not ended.reason.unfinished}
    if result.started:
        done["startTimeUtc"] = result.started.began.replace("+00:00", "Z")
    if ended is not None:
        done["exitCodeDescription"] = f"{ended.reason}: {ended.detail}" if ended.detail else str(ended.reason)
    return done


def _tags(taxonomy: Taxonomy) -> list[str]:
    cwe = [f"external/cwe/cwe-{number:03d}" for number in taxonomy.cwe]
    return [*taxonomy.owasp_api, *taxonomy.owasp_llm, *taxonomy.atlas, *cwe]


def _pascal(title: str) -> str:
    words = "".join(letter if letter.isalnum() else " " for letter in title).split()
    return "".join(word[:1].upper() + word[1:] for word in words)
