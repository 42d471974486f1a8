"""Load on a server of the API, over HTTP: what is sent, how fast it is answered, and whether the counts hold.

Theory
======

*Closed loop*: a number of workers each send the next request when their last was answered.  A server that becomes
slow is sent less; its latencies say how long a request takes once the server has it, at that concurrency.

*Open loop*: requests are due at instants that do not depend on the answers, as those of many users are: a Poisson
process.  A latency is measured from the instant at which the request was **due**.  So a request that had to wait
for those before it has waited, in the figures too, whether it waited in the server, in a socket, or in this very
process because it could not keep up.  To measure from when it was sent would leave the waiting out exactly when
there is some (*coordinated omission*).  At most so many requests are in flight; one that is due above that is
given up, and counted as an error.

Which requests are sent follows from a seed: a sequence of *intents*, plain data, that does not depend on the
answers.  What an intent becomes does: its batch is one of those that the server has made so far.  Hence the same
seed and the same answers, in the same order, give the same requests, but for the names of stores.  With one
worker the order is fixed; with more, or in an open loop, it is the server's.

What is sent is chosen so that a correct server cannot be accused in the end: no file is attached to a store
twice, no file of a batch is ever deleted, and what is not known because an answer was lost is a range.
"""

from __future__ import annotations
