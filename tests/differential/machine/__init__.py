"""Differential testing as a machine: random command sequences, played to Tandem and to a real server.

    python -m machine --seed 7 --commands 100000 --reference 8.2 --protocol 3

How a run goes, file by file: `grammar` reads from the reference what its commands look like; `generate` makes
single commands from that and from the pools in `values`, `tame` takes out what two servers may lawfully answer
differently; `episode` puts commands together (transactions, scripts, blocked clients, subscribers); `drive`
plays an episode to both; `compare` judges replies and `state` asks for what is left in the keyspace; `shrink`
makes a difference small; `known` tells which differences have a reason; `store` writes what was found in the
form of the scenario files. `hunt` is the loop around all this, `liar` the proof that it finds something.

A run is a row of episodes. Each begins from an empty server and has its own random numbers, drawn from the
run's seed and its own index; so an episode is reproduced alone, and a difference never needs more than its
episode.
"""
