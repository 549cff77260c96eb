"""A second tier: objects shared by many nodes, and one ordered log of what is not valid any more (docs/many-nodes.md).

`Store` (store.py) is all that an engine must be able to do, `EngineStore` (engine.py) does it on Valkey or Redis.
`Tier` (node.py) is what the rest of the process knows.
"""
