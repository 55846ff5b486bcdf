"""Best paths and blast radii by libraries for graphs, in seconds, as one JSON object. Usage: graph_peers.py FILE NODES QUESTIONS

FILE holds links, 16 bytes each: source and target (little-endian int32) and weight (double, 0 ... 1). The path of the greatest
product is the shortest one under -log weight. A question goes from a node to another; a blast is the greatest product to every
node. The libraries do not bound the number of links; of a blast scipy stops at a product of 0.1, the others know no such bound.
Graphs are made before the clock starts.
"""
import json
import sys
import time

import igraph
import numpy
import rustworkx
import scipy.sparse
from scipy.sparse.csgraph import dijkstra

file, nodes, questions = sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3])
links = numpy.fromfile(file, dtype=[("source", "<i4"), ("target", "<i4"), ("weight", "<f8")])
costs = -numpy.log(links["weight"])
pairs = list(zip(links["source"].tolist(), links["target"].tolist()))

rust = rustworkx.PyDiGraph()
rust.add_nodes_from(range(nodes))
rust.add_edges_from([(source, target, cost) for (source, target), cost in zip(pairs, costs.tolist())])
graph = igraph.Graph(n=nodes, edges=pairs, directed=True)
weights = costs.tolist()
matrix = scipy.sparse.csr_matrix((costs, (links["source"], links["target"])), shape=(nodes, nodes))


def rustworkx_path(source, target):
    found = rustworkx.digraph_dijkstra_shortest_path_lengths(rust, source, float, goal=target)
    return found[target] if target in found else None


def igraph_path(source, target):
    return graph.distances(source, target, weights=weights)[0][0]


def scipy_path(source, target):
    return dijkstra(matrix, indices=source)[target]


paths = {"rustworkx": rustworkx_path, "igraph": igraph_path, "scipy": scipy_path}
blasts = {
    "rustworkx": lambda source: rustworkx.digraph_dijkstra_shortest_path_lengths(rust, source, float),
    "igraph": lambda source: graph.distances(source, weights=weights),
    "scipy": lambda source: dijkstra(matrix, indices=source, limit=-numpy.log(0.1)),
}
answer = {"path": {}, "blast": {}, "ranks": {}}
for name, ask in paths.items():
    ask(*questions[0])
    began = time.perf_counter()
    answer["ranks"][name] = [float(numpy.exp(-ask(source, target))) for source, target in questions]
    answer["path"][name] = (time.perf_counter() - began) / len(questions)
for name, ask in blasts.items():
    ask(questions[0][0])
    began = time.perf_counter()
    for source, _ in questions:
        ask(source)
    answer["blast"][name] = (time.perf_counter() - began) / len(questions)
print(json.dumps(answer))
