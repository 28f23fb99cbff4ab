"""Every claim about speed or quality, as a script: `python -m benchmarks NAME [--quick] [--json]`.

One module per name. It measures ours and a peer in turns on the same machine and returns a
`harness.Report`. Run it from the repository; the wheel does not ship it.
"""
