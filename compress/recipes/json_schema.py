"""JSON Schemas of the recipe files, for editors: `python -m compress.recipes.json_schema` writes both."""

import json
import sys
from pathlib import Path
from typing import Any

from compress.recipes.resolve import RecipeKind
from compress.recipes.schema import Student, Teacher

DIALECT = "https://json-schema.org/draft/2020-12/schema"
MODELS: dict[RecipeKind, type[Teacher | Student]] = {"teachers": Teacher, "students": Student}


def file_name(kind: RecipeKind) -> str:
    """What a schema's file is called, beside the recipes that it describes."""
    return f"{kind.removesuffix('s')}.schema.json"


def json_schema(kind: RecipeKind) -> dict[str, Any]:
    """The JSON Schema of a recipe file: the model without its name, which is the file's stem."""
    schema = MODELS[kind].model_json_schema()
    del schema["properties"]["name"]
    schema["required"].remove("name")
    return {"$schema": DIALECT, **schema}


def render(kind: RecipeKind) -> str:
    """A schema as it is committed."""
    return json.dumps(json_schema(kind), indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> list[Path]:
    """Write each schema beside its recipes: `FOLDER/teachers/`, `FOLDER/students/`."""
    written = [folder / kind / file_name(kind) for kind in MODELS]
    for kind, path in zip(MODELS, written, strict=True):
        path.write_text(render(kind), encoding="utf-8")
    return written


if __name__ == "__main__":
    for path in write_schemas(Path(__file__).resolve().parents[2]):
        sys.stdout.write(f"{path}\n")
