# SPDX-License-Identifier: Apache-2.0
"""Takes the place of the suite's test/service.py, which its source distribution lacks: the broker runs
already, and nothing is to be started."""


class ExternalService:
    def __init__(self, host, port):
        self.host, self.port = host, port

    def open(self):
        pass

    def close(self):
        pass

    def stop(self):
        pass


class SpawnedService:
    def __init__(self, *_, **__):
        raise RuntimeError("this suite runs against a broker that is there")
