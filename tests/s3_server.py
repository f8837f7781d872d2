"""An S3 server in this process, with its address and keys in the environment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


class S3:
    """A bucket of a server that runs here."""

    def __init__(self, address: str) -> None:
        import boto3

        self.address = address
        self._client: Any = boto3.client("s3", endpoint_url=address, region_name="us-east-1")
        self._client.create_bucket(Bucket="docs")

    def put(self, folder: Path, prefix: str) -> str:
        """Upload a folder; its address."""
        for path in folder.rglob("*"):
            if path.is_file():
                self._client.upload_file(str(path), "docs", f"{prefix}/{path.relative_to(folder).as_posix()}")
        return f"s3://docs/{prefix}"

    def remove(self, address: str) -> None:
        """Delete all objects below an address."""
        prefix = address.removeprefix("s3://docs/")
        for entry in self._client.list_objects_v2(Bucket="docs", Prefix=prefix).get("Contents", ()):
            self._client.delete_object(Bucket="docs", Key=entry["Key"])


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    """A server for the tests of a module; s3fs finds it by the environment, as it finds Amazon's."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
        }.items():
            patch.setenv(name, value)
        yield S3(address)
    server.stop()
