"""The simulator: what admission makes of an attack, on virtual time, with the very code that the server runs.

workload.py says who asks for what, attacks.py what attackers add, world.py runs it on slots that are killed at their grants,
policies.py are nine ways to admit (the last is the server's gate with everything on), measure.py is what we judge by, and
ablation.py the tables. It is a model: it orders policies, it does not predict seconds of a product. What it leaves out: what a
refusal itself costs (benches/refusals.py measures that), batching, and attackers who adapt.
"""
