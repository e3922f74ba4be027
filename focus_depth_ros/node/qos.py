"""Quality of service: what each kind of topic gets, and what a user may override by parameter."""

from __future__ import annotations

from rclpy.qos import HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions

NEWEST_PICTURE = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
)
"""Sensor data of which only the newest counts: takes what any camera publishes."""
TARGETS = QoSProfile(depth=5)
"""What says where to look; reliable, because each message counts."""
RESULTS = QoSProfile(depth=1)
"""Reliable, so that RViz reads it; the newest or nothing."""


def overridable() -> QoSOverridingOptions:
    """Let `qos_overrides.<topic>...` parameters change history, depth, reliability, durability."""
    return QoSOverridingOptions(
        policy_kinds=(
            QoSPolicyKind.HISTORY,
            QoSPolicyKind.DEPTH,
            QoSPolicyKind.RELIABILITY,
            QoSPolicyKind.DURABILITY,
        )
    )
