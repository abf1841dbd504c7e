"""What every part of the schema shares: strict about the types of the keys it knows, other keys are kept."""

from pydantic import ConfigDict

STRICT = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)
