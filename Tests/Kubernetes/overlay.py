"""overlay.py NAME FILE: what kubectl made of an overlay equals what the chart renders from the values of that name."""

import sys

import chart
import generate

name, path = sys.argv[1:]
wanted = generate.release(f"values-{name}.yaml")
with open(path) as file:
    found = {chart.identity(each): each for each in chart.documents(file.read()) if each["kind"] != "Namespace"}
faults = [f"{key} is not in the overlay" for key in wanted.keys() - found.keys()]
faults += [f"{key} is only in the overlay" for key in found.keys() - wanted.keys()]
faults += [f"{key} differs" for key in wanted.keys() & found.keys() if wanted[key] != found[key]]
for fault in faults:
    print(fault)
print(f"{name}: {len(found)} objects, {len(faults)} faults")
sys.exit(1 if faults else 0)
