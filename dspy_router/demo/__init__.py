"""A toolbox of real tools that work offline, with the queries people put to them: what the demo runs on."""
