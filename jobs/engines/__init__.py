"""Other engines that ask the stores: Trino and Athena, which are given what they must know of the tables."""
