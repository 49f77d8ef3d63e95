"""The replicated znode tree: pure state machines, no I/O, no clock.

`decide.Decider` turns a request into a payload (leader only, reads only), `tree.Tree.apply` is the
one mutator and runs the same payloads on every member, `reads` answers what changes nothing,
`watches.Watches` belongs to one member's sessions, `sessions.SessionTracker` to the leader.
"""
