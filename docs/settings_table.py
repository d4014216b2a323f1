"""Writes the table of the server's settings into serving.md, from the declarations of the settings."""

from pathlib import Path

from torchless.server.settings import setting_infos

PAGE = Path(__file__).with_name("serving.md")
BEGIN, END = "<!-- settings: written by docs/settings_table.py -->", "<!-- end of settings -->"


def table() -> str:
    """Return the table in Markdown."""
    lines = ["| flag | in the environment | default | |", "|---|---|---|---|"]
    for info in setting_infos():
        flag = "FOLDER`, `NAME=FOLDER" if info.name == "models" else info.flag
        default = "" if info.default is None or info.name == "models" else info.default
        code = f"`{default}`" if default and " " not in default else default
        lines.append(f"| `{flag}` | `{info.variable}` | {code} | {info.description} |")
    return "\n".join(lines)


def with_table(page: str) -> str:
    """Return the page with the current table."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
