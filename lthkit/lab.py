"""What a lab hands to the book's pages."""

import json
import re
from base64 import b64encode
from io import BytesIO

PREFIX = "application/papermill.record/"  # no viewer draws such a type, so nothing shows below the cell
VERDICT = "application/vnd.lthkit.verdict+json"
FIELDS = {"kind", "status", "claim", "scope", "sentence", "interval", "n", "source", "differences"}


def quote(**values) -> None:
    """Store what the book's pages quote from a lab: one call at its end, each value under its name.

    Shows nothing; outside a notebook it only checks.
    values: numbers, texts or bools (also NumPy or torch scalars), matplotlib figures, `Verdict`s.
    Raises ValueError for a name with anything but a-z, 0-9 and _, and TypeError for any other value.
    """
    for key, value in values.items():
        if not re.fullmatch(r"[a-z0-9_]+", key):
            raise ValueError(f"the key {key!r} may hold only a-z, 0-9 and _")
        data, metadata = _bundle(key, value)
        try:
            from IPython import display, get_ipython
        except ImportError:
            continue
        if get_ipython() is not None:
            metadata |= {"scrapbook": {"name": key, "mime_prefix": PREFIX}}
            display.display({PREFIX + mime: content for mime, content in data.items()}, metadata=metadata, raw=True)


def _bundle(key: str, value) -> tuple[dict, dict]:
    """The value by MIME type, and metadata by MIME type."""
    if hasattr(value, "savefig"):
        png = BytesIO()
        value.savefig(png, format="png", dpi=2 * value.dpi, bbox_inches="tight")
        width = int.from_bytes(png.getvalue()[16:20])  # pixels, from the PNG header
        return {"image/png": b64encode(png.getvalue()).decode()}, {"image/png": {"width": width // 2}}
    if hasattr(value, "to_dict") and FIELDS <= set(fields := value.to_dict()):
        return {VERDICT: json.dumps(fields), "text/plain": repr(fields["sentence"])}, {}
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        value = value.item()
    if not isinstance(value, int | float | str):
        raise TypeError(f"cannot quote {key!r}: {type(value).__name__} is no number, text, figure or verdict")
    return {"text/plain": repr(value)}, {}
