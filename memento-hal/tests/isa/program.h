/* A program of Memento instructions that takes the same course on every architecture. */
#ifndef PROGRAM_H
#define PROGRAM_H

/* Runs it; 0, or the number of the expectation that failed. */
int program_run(void);

#endif
