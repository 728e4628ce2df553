"""Helpers of this folder whose assertions are shown in full."""

import pytest

pytest.register_assert_rewrite("storage_contract")
