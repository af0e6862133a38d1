"""What a traced program is: types, tracers, jaxprs."""
