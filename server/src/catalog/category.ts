/** The six kinds of action. They stand in the sealed entry (`event <category>`), so the trail's list is the list. */
export { CATEGORIES as categories, type Category } from '@affidavit/trail'
