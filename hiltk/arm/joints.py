"""What LeRobot calls the joints of a SO-101, from the base on. Standard library only: files of arms are read by it."""

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
