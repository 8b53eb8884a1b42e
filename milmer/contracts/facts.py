"""Plain values by name: what a file of ours says of itself."""

from pathlib import Path
from typing import Any

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError

from milmer.errors import MilmerError

AGAIN = "delete it and run again"
"""What to do about a file of ours that is damaged."""


class Facts(BaseModel):
    """Plain values by name; what no reader counts on may be there too."""

    # Not built before it is needed: a stage reads few of the files that have a contract.
    model_config = ConfigDict(strict=True, allow_inf_nan=False, defer_build=True)


class Origin(Facts):
    """What a file was made from, and what each of its inputs was."""

    options: dict[str, Any]
    inputs: dict[str, str]
    upstream: "dict[str, Origin]"


class TableMetadata(Facts):
    """What stands in the metadata of a table."""

    stage: str
    digest: str
    provenance: dict[str, Any]


def having(*names: str) -> AfterValidator:
    """Validates that a mapping has these ``names``."""

    def check(value: dict[str, Any]) -> dict[str, Any]:
        if missing := [name for name in names if name not in value]:
            raise ValueError(f"lacks {missing[0]}")
        return value

    return AfterValidator(check)


def require(model: type[BaseModel], value: Any, path: Path) -> None:
    """Refuse plain values that are not those of ``model``."""
    try:
        model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        key = ".".join(map(str, first["loc"]))[:100]
        raise MilmerError(
            f"damaged, or of another version ({key}: {first['msg'][:200]})",
            where=path,
            remedy=AGAIN,
        ) from error
