"""Values the chart is rendered with, and values it must refuse with a word of why."""

import chart

staging = chart.values_of("values-staging.yaml")
production = chart.values_of("values-production.yaml")
peer = {"ipBlock": {"cidr": "10.20.0.0/16"}}

#: name: values. Each is linted, rendered, validated and checked object by object.
accepted = {
    "defaults": {},
    "staging": staging,
    "production": production,
    "plain production": chart.merged(production, {"migration": {"hook": False}, "tests": {"enabled": False}}),
    "production with the Prometheus operator": chart.merged(
        production, {"monitoring": {"serviceMonitor": {"enabled": True}, "prometheusRule": {"enabled": True}}}),
    "trial": {"trialPostgresql": {"enabled": True}},
    "one of each": {key: {"replicas": 1} for key in ("gateway", "graphBuilder", "anomalyPropagation")},
    "keys from the web": {
        "gateway": {"jwt": {"issuer": "https://id.example.com/", "audience": "undercurrent", "jwksUrl": "https://id.example.com/keys"}},
        "networkPolicy": {"jwks": {"to": [peer]}},
    },
    "keys from a secret": {"gateway": {"jwt": {"issuer": "i", "audience": "a", "jwksSecret": "undercurrent-jwks"}}},
    "client certificates": {"gateway": {"tls": {"clientAuthoritySecret": "undercurrent-clients"}}},
    "ingress": {
        "gateway": {
            "ingress": {
                "enabled": True,
                "className": "nginx",
                "annotations": {"nginx.ingress.kubernetes.io/backend-protocol": "HTTPS"},
                "hosts": ["undercurrent.example.com"],
                "tlsSecret": "undercurrent-public",
            }
        }
    },
    "load balancer": {
        "gateway": {"service": {"type": "LoadBalancer", "annotations": {"example.com/kind": "internal"}, "loadBalancerSourceRanges": ["10.0.0.0/8"]}}
    },
    "no policies": {"networkPolicy": {"enabled": False}},
    "narrow policies": {
        "networkPolicy": {"postgresql": {"to": [peer], "port": 6432}, "clients": {"from": [peer]}, "otlp": {"to": [peer]}},
        "tracing": {"endpoint": "http://10.20.0.9:4318"},
    },
    "other names": {"fullnameOverride": "links", "image": {"registry": "registry.example.com", "tag": "1.2.3", "pullSecrets": ["pull"]}},
    "digests": {"gateway": {"digest": "sha256:" + "0" * 64}, "graphBuilder": {"digest": "sha256:" + "1" * 64}},
    "snapshots elsewhere": {"snapshots": {"enabled": True, "existingClaim": "archive"}},
    "placement": {
        "graphBuilder": {
            "priorityClassName": "important",
            "nodeSelector": {"disk": "fast"},
            "tolerations": [{"key": "dedicated", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "podAnnotations": {"example.com/team": "links"},
        },
        "topologySpread": {"whenUnsatisfiable": "DoNotSchedule"},
    },
    "CPU only": chart.merged(production, {"autoscaling": {"customMetrics": False}}),
}

#: name: (values, what the refusal must say).
refused = {
    "a key of nobody": ({"gatway": {}}, "gatway"),
    "a setting that does not exist": ({"gateway": {"settings": {"RATE_LIMITER_TOKEN": 5}}}, "RATE_LIMITER_TOKEN"),
    "a setting of another service": ({"gateway": {"settings": {"LEASE_SECONDS": 5}}}, "LEASE_SECONDS"),
    "a setting the chart decides": ({"gateway": {"settings": {"HTTP_PORT": 80}}}, "HTTP_PORT"),
    "a secret among the values": ({"database": {"url": "postgres://a:b@c/d"}}, "url"),
    "a Secret without a name": ({"database": {"existingSecret": ""}}, "existingSecret"),
    "no replica": ({"gateway": {"replicas": 0}}, "replicas"),
    "replicas as text": ({"gateway": {"replicas": "two"}}, "replicas"),
    "both ends of a budget": ({"gateway": {"disruptionBudget": {"minAvailable": 1, "maxUnavailable": 1}}}, "disruptionBudget"),
    "tokens without audience": ({"gateway": {"jwt": {"issuer": "i", "jwksUrl": "https://k"}}}, "jwt"),
    "tokens from two places": ({"gateway": {"jwt": {"issuer": "i", "audience": "a", "jwksUrl": "https://k", "jwksSecret": "s"}}}, "jwt"),
    "keys for no issuer": ({"gateway": {"jwt": {"jwksUrl": "https://k"}}}, "jwt"),
    "an ingress for no host": ({"gateway": {"ingress": {"enabled": True}}}, "hosts"),
    "a digest that is none": ({"graphBuilder": {"digest": "sha256:12"}}, "digest"),
    "objects of the operator perhaps": ({"monitoring": {"prometheusRule": {"enabled": "maybe"}}}, "enabled"),
    "a share of traces above one": ({"tracing": {"sampleRatio": 2}}, "sampleRatio"),
    "resources without a memory limit": ({"gateway": {"resources": {"limits": {"memory": None}}}}, "memory"),
    "a drain as long as the stop": ({"shutdown": {"drainSeconds": 45}}, "drainSeconds must be less"),
    "more replicas at least than at most": ({"gateway": {"autoscaling": {"minReplicas": 9}}}, "minReplicas must be at most"),
    "a pool with its ends exchanged": ({"database": {"poolMin": 9}}, "poolMin must be at most"),
}
