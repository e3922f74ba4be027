"""Quality of service: what each kind of topic gets, and what a user may override by parameter.

A profile is made anew for each topic: rclpy writes what a user overrides into the one it is given.
"""

from __future__ import annotations

from rclpy.qos import HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions


def picture_profile() -> QoSProfile:
    """Sensor data of which only the newest counts: takes what any camera publishes."""
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST, depth=1, reliability=ReliabilityPolicy.BEST_EFFORT
    )


def target_profile() -> QoSProfile:
    """What says where to look; reliable, because each message counts."""
    return QoSProfile(depth=5)


def result_profile() -> QoSProfile:
    """Reliable, so that RViz reads it; the newest or nothing."""
    return QoSProfile(depth=1)


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
