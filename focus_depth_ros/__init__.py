"""focus_depth_ros: a robot looks at one thing and gets its depth, its edges and its points."""

__version__ = '0.1.0'
