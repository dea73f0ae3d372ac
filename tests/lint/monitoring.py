"""Every metric that the dashboard and the alert rules name exists; the rules do what their tests say (with promtool)."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
MONITORING = ROOT / "conf" / "monitoring"


def known():
    """The names in docs/metrics.md, with those that a histogram adds."""
    names = set()
    for name, kind in re.findall(r"^\| `(shunt_\w+)` \| (\w+) \|", (ROOT / "docs" / "metrics.md").read_text(), re.M):
        names |= {name + end for end in ("_bucket", "_sum", "_count")} if kind == "histogram" else {name}
    return names


def main():
    names, wrong = known(), []
    assert len(names) > 20, "docs/metrics.md was not understood"
    dashboard = json.loads((MONITORING / "grafana.json").read_text())
    texts = {f"grafana.json, {panel['title']}": target["expr"] for panel in dashboard["panels"] for target in panel["targets"]}
    texts["grafana.json, variables"] = json.dumps(dashboard["templating"])
    texts["alerts.yml"] = (MONITORING / "alerts.yml").read_text()
    texts["alerts_test.yml"] = (MONITORING / "alerts_test.yml").read_text()
    for where, text in texts.items():
        used = set(re.findall(r"\bshunt_\w+", text))
        wrong += [f"{where}: {name} does not exist" for name in sorted(used - names)]
        if where != "alerts_test.yml" and not used:
            wrong.append(f"{where}: no metric in it")
    promtool = os.environ.get("PROMTOOL") or shutil.which("promtool")
    if promtool:
        for words in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
            done = subprocess.run([promtool, *words], cwd=MONITORING, capture_output=True, text=True, check=False)
            wrong += [done.stdout + done.stderr] if done.returncode else []
    print("\n".join(wrong or ["every metric exists"]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
