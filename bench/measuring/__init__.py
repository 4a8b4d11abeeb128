"""How a time and a peak of memory are taken: in this process, in a process of its own, in a contender's."""
