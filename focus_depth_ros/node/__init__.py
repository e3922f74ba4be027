"""The ROS edge: messages become arrays here and arrays become messages, and nowhere else."""
