"""One frame and its targets in, one result out: functions on numpy arrays, no ROS."""
