"""Rendering of our chart, shared by the generator and the checks."""

import pathlib

import helm_python
import yaml

root = pathlib.Path(__file__).resolve().parents[2]
chart_folder = root / "helm" / "undercurrent"


class Loader(yaml.SafeLoader):
    """YAML as Kubernetes reads it: a key given twice is an error."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise ValueError(f"{node.start_mark}: twice: {', '.join(sorted(twice))}")
        return super().construct_mapping(node, deep)


def documents(text):
    return [document for document in yaml.load_all(text, Loader) if document]


def merged(base, over):
    """Values as Helm merges them: mappings key by key, anything else replaced."""
    if not isinstance(base, dict) or not isinstance(over, dict):
        return over
    return {**base, **{key: merged(base[key], value) if key in base else value for key, value in over.items()}}


def values_of(*names):
    """Values of files beside the chart's own, later ones over earlier ones."""
    values = {}
    for name in names:
        values = merged(values, yaml.load((chart_folder / name).read_text(), Loader))
    return values


def render(values, name="undercurrent", namespace="undercurrent"):
    """Objects of a release, in a fixed order. Raises what Helm says against the values."""
    with helm_python.Chart.load(str(chart_folder)) as chart:
        files = chart.render(values, name=name, namespace=namespace)
    objects = []
    for path, text in sorted(files.items()):
        if path.endswith((".yaml", ".yml")):
            objects += documents(text)
    return objects


def identity(document):
    metadata = document["metadata"]
    return (document["kind"], metadata.get("namespace", ""), metadata["name"])
