"""The threads of libraries: as many as the network needs, and one where pictures are read, resized and drawn."""

import cv2
import torch

from dacli.inference.device import ExecutionPlan, compute_threads


def limit_library_threads(plan: ExecutionPlan) -> None:
    """Set the threads of torch and OpenCV for the whole process: torch's on a CPU are for the network alone.

    dacli reads, prepares and writes several pictures at the same time, each in a thread of its own. If a library used
    all cores for each of them too, its threads would wait for each other, and between two calls they would keep the
    cores busy that other engines need.
    """
    torch.set_num_threads(compute_threads() if (plan.engine, plan.device) == ("torch", "cpu") else 1)
    cv2.setNumThreads(1)
